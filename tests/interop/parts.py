"""multipart/mixed cut into its parts, bytes as they are."""


def split(body, boundary):
    """[(headers, bytes)], header names in lower case."""
    mark = b"--" + boundary.encode()
    assert body.startswith(mark), "a body begins with its boundary"
    found, at = [], len(mark)
    while not body.startswith(b"--", at):
        head_end = body.index(b"\r\n\r\n", at)
        lines = body[at + 2:head_end].decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        # The length is told: data may hold anything, a boundary too.
        end = head_end + 4 + int(headers["content-length"])
        assert body.startswith(b"\r\n" + mark, end), "a part ends at its Content-Length"
        found.append((headers, body[head_end + 4:end]))
        at = end + 2 + len(mark)
    return found
