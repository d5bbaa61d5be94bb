"""An executor of your own: pictures of a batch restored one after another, in this process."""

from collections.abc import Sequence
from pathlib import Path

from guided_dip.batch import call, carry_out, place, progress, work


class Here:
    """Takes groups of pictures, and tells what becomes of each; see `batch.work.Executor`."""

    def __init__(self, orders: work.Orders) -> None:
        self.orders, self.said = orders, list[work.Event]()

    def room(self) -> int:  # how many groups it can take now
        return 0 if self.said else 1

    def submit(self, items: Sequence[work.Item]) -> None:  # elsewhere: send them, and return
        carry_out.carry_out(items, self.orders, self.said.append)

    def wait(self, seconds: float) -> list[work.Event]:  # what has been said since
        events, self.said = self.said, []
        return events

    def stop(self) -> None: ...  # ask what is under way to end soon, and keep its checkpoints

    def close(self) -> None: ...  # end all processes, whatever they are at


def restore_folder(source: Path, outdir: Path, orders: work.Orders) -> progress.Ending:
    """Restore a folder's pictures: the same manifest, report and commands as of any batch."""
    sources = call.Sources([source])
    where = place.Place(call.make_outdir(outdir))
    with call.opened(where, call.root_of(sources)) as manifest, progress.requests() as asked:
        settings = call.keep_orders(manifest, orders)
        call.enrol(manifest, where, sources, settings)
        there = (manifest, settings, Here(orders), where, progress.Rules(), asked)
        return call.carry_out_batch(*there, lambda _: None)
