"""The page on which trials and studies are asked for in the browser.

May import the rest of ``dashboard``. Begin reading with ``app.py``.
"""
