"""The data's way in: import, mapping, data doctor, public layouts."""

from upnext.intake.doctor import validate
from upnext.intake.importing import Stores, import_tables
from upnext.intake.plan import Plan, plan_of
from upnext.intake.report import Report, TableReport

__all__ = ["Plan", "Report", "Stores", "TableReport", "import_tables", "plan_of", "validate"]
