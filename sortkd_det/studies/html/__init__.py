"""Reports as pages for the browser: a page is plain data, and one template shows them all."""

from .page import Cell, Page, Section, Table, write_page

__all__ = ['Cell', 'Page', 'Section', 'Table', 'write_page']
