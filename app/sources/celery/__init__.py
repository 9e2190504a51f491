"""The source of Celery with a Redis or Valkey broker."""
