"""Act on buttons: from the form to the studio, and errors back to the page. They run before the page is rendered again."""
