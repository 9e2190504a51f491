"""`/audit` and `/reconciliation/audit`: the page of the audit, its API, and errors that browsers report."""
