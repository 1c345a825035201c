"""The Date header has one form, in every locale."""

import time
from email.utils import parsedate_to_datetime

from fastroute.proxy.http_date import http_date


def test_http_date():
    date = http_date().decode()
    assert len(date) == len("Sun, 06 Nov 1994 08:49:37 GMT")
    assert date.endswith(" GMT")
    assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 60
