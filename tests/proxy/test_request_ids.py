from fastroute.proxy.request_ids import RequestIds


def test_no_two_are_alike():
    """Of one worker or of two."""
    makers = RequestIds(), RequestIds()
    ids = {maker.new() for maker in makers for _ in range(1000)}
    assert len(ids) == 2000
    assert all(len(request_id) == 25 for request_id in ids)
