from tests.support.standins import standin

BODY = b'{"model":"standin","max_tokens":4,"messages":[{"role":"user","content":"hi"}],"stream":%b}'


def post(body: bytes) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


async def test_chat(start_router):
    async with standin() as server:
        router = await start_router(server.url)
        reply = await router.ask(post(BODY % b"false"))
        assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
        reply = await router.ask(post(BODY % b"true"))
        assert reply.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert router.total("finished_2xx") == 2
