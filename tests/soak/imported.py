"""What the server of forks imports before it forks: all that a first call would import."""

import tests.soak.log
import tests.soak.search
import tests.soak.work  # noqa: F401
