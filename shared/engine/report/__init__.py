"""The report: generated README blocks (``markdown``) and the browsable site of all papers (``site``)."""

from shared.engine.report.site import build_site

__all__ = ["build_site"]
