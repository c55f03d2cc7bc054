"""
The ledger of a replay, kept over all its tries. Begin with the protocol in ``session``.

- ``account``: what has become of each message of a plan
- ``ledger``: the ledger as a value: what is done, claimed and copied, by whom (``mqs.ledger/1``)
- ``resume``: what a new execution takes over from the ledgers of earlier ones
- ``session``: one execution's hold on its ledger: take over, announce, give way, write, close
- ``index``: which replays a topic had, so that others find their ledgers
- ``known_copies``: which rows of a window are copies that earlier replays made
- ``stores``: where values are kept: what a store must do, and the store in a folder
"""
