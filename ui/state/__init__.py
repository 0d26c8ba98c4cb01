"""Wrap every key of st.session_state and of the address bar in functions with types.

The form's values live in one dictionary by schema key, because Streamlit forgets a widget's value when its page is left.
While the Generate page is open each widget has its own key beside it; `form.keep_form` copies the widgets back.
"""
