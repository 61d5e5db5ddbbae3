"""Who asks MLflow's server: the user that its basic-auth app has authenticated."""

from __future__ import annotations

import sys

from mlflow_ledger.bus import Actor

__all__ = ["server_user"]


def server_user() -> Actor | None:
    """The user of the request that is being answered here, if the app knows one.

    It notes the user for its handlers once the password was right; what a request merely claims is
    not looked at.
    """
    flask = sys.modules.get("flask")  # only MLflow's server needs it
    if flask is None or not flask.has_request_context():
        return None
    user = getattr(flask.g, "mlflow_authenticated_user", None)
    return None if user is None else Actor(str(user), "authenticated")
