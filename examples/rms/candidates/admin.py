from django.contrib import admin

from candidates.models import Candidate, StatusChange, Tag


@admin.register(Candidate)
class CandidateAdmin(admin.ModelAdmin):
    list_display = ['name', 'position', 'city', 'status', 'source', 'applied_on']
    list_filter = ['status', 'source']
    search_fields = ['first_name', 'last_name', 'email']
    filter_horizontal = ['tags']


@admin.register(StatusChange)
class StatusChangeAdmin(admin.ModelAdmin):
    list_display = ['candidate', 'before', 'after', 'by', 'at']
    raw_id_fields = ['candidate']


admin.site.register(Tag)
