"""The bus: how services hear of each other, in one process or over RabbitMQ, behind one port."""

from kernel.bus.memory import MemoryBus
from kernel.bus.port import Bus, Hear, Missed, Receive, Unroutable
from kernel.bus.rabbitmq import RabbitMQBus

__all__ = ["Bus", "Hear", "MemoryBus", "Missed", "RabbitMQBus", "Receive", "Unroutable"]
