"""One file a page, drawn by st.navigation."""
