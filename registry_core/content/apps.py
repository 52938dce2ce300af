from django.apps import AppConfig


class ContentConfig(AppConfig):
    name = "registry_core.content"
    label = "content"
    verbose_name = "Content"
