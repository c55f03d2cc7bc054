"""
Measure this provider against what people would use instead, on one machine and in one run.

``make bench`` runs everything and writes ``docs/benchmarks.md`` and ``docs/sizing.md``. A local service that is never
the bottleneck serves contestants, each in a process of its own; they take turns, and what counts are the ratios.

- ``scenario``: the topic and the service of one measurement
- ``server``: the service, as a program
- ``job``: what a contestant is asked to do, and what it returns
- ``contestants``: this provider, and what people would use instead
- ``measuring``: one measurement, and the contestant's process
- ``plan``: what is measured, how often and how large
- ``startup``: what a DAG file costs that imports this provider
- ``deferred``: deferred sensors in Airflow's trigger runner
- ``triggerer``: the same under the program ``airflow triggerer``, with ``crowd`` as its DAGs folder
- ``defer_tasks``: defers tasks in Airflow's database, as a program
- ``machine``: processor, memory and versions
- ``targets``: the numbers to reach
- ``report``, ``plots``: the page of the measurements and its pictures
- ``documents``, ``sizing``: what a batch leaves in Airflow's database, and the page that extrapolates to a billion
  messages
"""
