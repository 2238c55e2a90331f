"""Pages for people: templates, words and assets, which `session_routes` and `operators_page` share.

Importing this loads no jinja2; building a `Renderer` does.
"""
