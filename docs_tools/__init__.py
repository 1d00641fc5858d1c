"""Writes the generated parts of the pages in ``docs/reference/``: ``python -m docs_tools``.

A page there is written by hand, except for the parts between two comments::

    <!-- generated: NAME -->
    <!-- generated: end -->

Each part is made from the code, so that it says what the code does. ``python -m docs_tools
--check`` compares the pages with what would be written and changes nothing; a test does the same.
"""
