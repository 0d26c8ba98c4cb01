"""Render the pages, one file each, run by st.navigation."""
