"""HTTP requests to the servers of tests, which listen on loopback and encrypt nothing.

What belongs here: httpx's own functions, all with one TLS context. What does not: what is asked, which is of the tests.
Without it httpx makes a context for every request and reads every certificate of the system into it.
"""

import ssl
from functools import partial

import httpx

_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

Client = partial(httpx.Client, verify=_CONTEXT)
get = partial(httpx.get, verify=_CONTEXT)
post = partial(httpx.post, verify=_CONTEXT)
request = partial(httpx.request, verify=_CONTEXT)
