"""Use another studio over HTTP: a client, and a generator that has it generate."""
