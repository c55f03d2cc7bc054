"""
The ledgers of replays, one for each execution. Begin with the protocol in ``session``.

- ``account``: what has become of each message of a plan
- ``ledger``: a ledger as a value: what is done, claimed and copied, by which execution (``mqs.ledger/2``)
- ``findings``: what executions find out about each other, beside the ledger that it is about
- ``ledger_reader``: reads ledgers, findings and fences from several stores
- ``resume``: what a new execution takes over from the ledgers of earlier ones
- ``session``: one execution's hold on its ledger: announce, wait for others, take over, write, close
- ``index``: which executions a topic had, so that others find their ledgers
- ``slots``: values that several executions write, without losing any
- ``process_identity``: which process this is, and whether another one has ended
- ``topic_ledgers``: the ledgers of a topic, for those who send nothing
- ``known_copies``: which rows of a window are copies that earlier replays made
- ``store_steps``: reads and writes of a store, as steps of flows
- ``stores``: where values are kept: what a store must do, and the store in a folder
"""
