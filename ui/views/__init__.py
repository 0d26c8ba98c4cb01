"""One file per page, run by st.navigation."""
