"""The managers' store. This is its door: other rooms import these names from here."""

from manager.store.store import Store
from manager.store.tables import BadSnapshot, Loading
from manager.store.transaction import Batch, Event
from manager.store.watch import Watch, WatchLagged

__all__ = ["BadSnapshot", "Batch", "Event", "Loading", "Store", "Watch", "WatchLagged"]
