"""A bundle in a browser: the page that answers and measures, its libraries, its server, and a copy for any server.

`page/` has the page, plain ES modules without a build; the rest is what hands it out.
"""
