def test_try(built):
    print((built.data / "reports/ingest.json").read_text()[:6000])
    print((built.data / "reports/training_set.json").read_text())
    print((built.data / "reports/metrics.json").read_text())
