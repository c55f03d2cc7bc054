"""
A simulation of replays: the real engine on a virtual clock, with everything else made up, by a seed.

Service (the core of the local one), network, stores, hosts, clocks, signals and Airflow's way of starting tries are
simulated. A schedule says what goes wrong, and a run of it can be repeated exactly. An oracle tells from the service's
own log whether a promise was broken. ``docs/simulation.md`` says what is explored and what was found.

- ``virtual_time``: one clock and one order of events; an event loop for each process
- ``process``: hosts, processes that are killed, paused and stopped, and their stores
- ``network``: the way to the service, and what goes wrong on it
- ``service``: the local service's core, with a log of what really happened
- ``schedule``: what happens, as data, drawn from a seed
- ``engine``: the only file that knows how the engine is put together
- ``airflow``: starts the processes of a schedule, and the epilogue
- ``facts``: what was asked and answered
- ``oracle``: what must never happen
- ``events``: what schedules reach
- ``simulate``: one schedule from beginning to end
- ``shrink``: make a schedule smaller
- ``story``: tell a schedule in sentences
- ``mutations``: guards of the engine, to be taken away
- ``page``: the tables of the documentation
"""
