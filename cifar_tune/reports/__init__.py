"""What ``evaluation`` found, drawn as HTML, Markdown, JSON, CSV and Plotly figures.

Computes nothing that a reader would cite. May import ``evaluation``, ``search`` and the rooms
above. Begin reading with ``study_page.py``, then ``blocks.py`` and ``html.py``.
"""
