from django.contrib import admin

from notes.models import Note


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ['candidate', 'author', 'pinned', 'created_at']
    raw_id_fields = ['candidate']
