"""The RQ workers: they draw the PDF receipts. Never patched by gevent; ticketing/ never imports this."""
