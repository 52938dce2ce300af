"""The addresses of users, groups, members, robots and permissions."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
