"""A server of objects that speaks S3, and Google's dialect of it: ``python -m tests.objects.moto``.

Google's XML interface is S3's with headers of its own. Of those obstore sends two: a token, and
that it writes only where nothing is. (fake-gcs-server takes uploads by Google's JSON interface
only, which obstore does not speak.)
"""

from __future__ import annotations

import sys
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_SCOPE = "test/20200101/us-east-1/s3/aws4_request"
_SIGNED = f"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders=, Signature="
"""S3 knows signatures only; nobody checks this one."""


class Google:
    """Says in S3's words what a client says in Google's."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4"):
            environ["HTTP_AUTHORIZATION"] = _SIGNED
        return self._app(environ, start_response)


if __name__ == "__main__":
    objects = Google(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), objects, threaded=True)
