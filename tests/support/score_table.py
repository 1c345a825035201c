"""What the supervisor writes into the score table, for tests without one."""

from fastroute.ipc.score_table import ScoreTable
from fastroute.rules.server_state import ServerState


def put_server(
    table: ScoreTable, row: int, state: ServerState = ServerState.UP, generation: int = 1
) -> None:
    """Have a server in a row, in a state."""
    table.servers.generation[row] = generation
    table.set_state(row, state)
