"""The page: a picture is dropped, and its restoration appears while it is computed.

Gradio draws the forms and keeps page and server in touch. What it has for files is not used: what
is uploaded, and every picture that is shown, goes through routes of the service's own, which know
whose it is; of Gradio's routes only those that the page needs are open (`routes.Guard`).
"""

from guided_dip.web.page.mounting import mount

__all__ = ["mount"]
