"""Celery: `apply_async` to a quorum queue that is there, with `confirm_publish`."""

from time import perf_counter

from celery import Celery

from bench.peer import arguments, say


def main() -> None:
    given = arguments()
    app = Celery(broker=given["url"])
    app.conf.broker_transport_options = {"confirm_publish": True}
    app.conf.task_ignore_result = True
    app.conf.task_create_missing_queues = False
    with app.producer_pool.acquire(block=True) as producer:
        began_s = perf_counter()
        for _ in range(given["count"]):
            app.send_task(
                "noop",
                args=(given["body"],),
                producer=producer,
                exchange="",
                routing_key=given["queue"],
                delivery_mode=2,
            )
        say({"per_s": given["count"] / (perf_counter() - began_s)})


if __name__ == "__main__":
    main()
