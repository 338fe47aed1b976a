"""Gives a fresh Tryton database what orders and invoices need: company, accounts, fiscal years, sequences, a key for REST."""

import datetime
import sys

from proteus import Model, config
from trytond.modules.account.tests.tools import (
    create_chart, create_fiscalyear, get_accounts)
from trytond.modules.account_invoice.tests.tools import (
    create_payment_term, set_fiscalyear_invoice_sequences)
from trytond.modules.company.tests.tools import create_company, get_company

database, configuration, key = sys.argv[1:4]
current = config.set_trytond(
    "sqlite:///%s" % database, user="admin", config_file=configuration)

create_company()
company = get_company()
create_chart(company)

# Whoever keeps this database for years still finds a year that is open.
for number in range(2024, 2036):
    year = create_fiscalyear(
        company, (datetime.date(number, 1, 1), datetime.date(number, 12, 31)))
    year.name = str(number)
    year.start_date = datetime.date(number, 1, 1)
    year.end_date = datetime.date(number, 12, 31)
    year = set_fiscalyear_invoice_sequences(year)
    year.save()
    year.click("create_period")

accounts = get_accounts(company)
category = Model.get("product.category")(name="Goods", accounting=True)
category.account_expense = accounts["expense"]
category.account_revenue = accounts["revenue"]
category.save()
create_payment_term().save()

application = Model.get("res.user.application")()
application.key = key
application.application = "rest"
application.user = Model.get("res.user")(current.user)
application.save()
application.state = "validated"
application.save()
