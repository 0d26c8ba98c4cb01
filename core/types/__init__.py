"""The nouns of the studio: frozen dataclasses that travel from the form to the history page.

Data goes one way: form -> GenerationRequest -> queue -> worker -> GenerationResult -> storage -> Job and ImageRecord -> page.
What these modules do not know: Streamlit, SQL, torch, files, YAML.
"""

from __future__ import annotations

from core.types.comparisons import Column, Comparison, Vote
from core.types.generation import (
    CONTROL,
    FIRST_ATTEMPT,
    IMAGE,
    MASK,
    OWN_FIELDS,
    ROLES,
    Attempt,
    Decision,
    GenerationRequest,
    GenerationResult,
    Phase,
    Picture,
    Progress,
    Sources,
)
from core.types.history import (
    Axis,
    Change,
    Chosen,
    Difference,
    FoundParameters,
    HistoryPage,
    HistoryQuery,
    ImageRecord,
    MarkChange,
    Marks,
    Sheet,
    TakenIn,
    Verdict,
)
from core.types.jobs import Job, JobState, JobTerms, QueueBoard
from core.types.machine import (
    CARDS,
    Capability,
    ClusterNode,
    ClusterWorker,
    Download,
    LoraInfo,
    ModelInfo,
    SystemReport,
    WorkerStatus,
)

__all__ = [
    "CARDS",
    "CONTROL",
    "FIRST_ATTEMPT",
    "IMAGE",
    "MASK",
    "OWN_FIELDS",
    "ROLES",
    "Attempt",
    "Axis",
    "Capability",
    "Change",
    "Chosen",
    "ClusterNode",
    "ClusterWorker",
    "Column",
    "Comparison",
    "Decision",
    "Difference",
    "Download",
    "FoundParameters",
    "GenerationRequest",
    "GenerationResult",
    "HistoryPage",
    "HistoryQuery",
    "ImageRecord",
    "Job",
    "JobState",
    "JobTerms",
    "LoraInfo",
    "MarkChange",
    "Marks",
    "ModelInfo",
    "Phase",
    "Picture",
    "Progress",
    "QueueBoard",
    "Sheet",
    "Sources",
    "SystemReport",
    "TakenIn",
    "Verdict",
    "Vote",
    "WorkerStatus",
]
