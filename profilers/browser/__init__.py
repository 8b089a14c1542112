"""Profiles from any phone with a browser: a small web server, a page, and onnxruntime-web in it.

A profile made here is of the phone's browser runtime, `onnxruntime-web`, and never passed off as a native one: the same
component takes several times as long as natively, and what moves memory a little less so.
"""

from profilers.browser.ort_web import find_ort_web
from profilers.browser.ort_web import install_ort_web
from profilers.browser.profile import serve

__all__ = ["find_ort_web", "install_ort_web", "serve"]
