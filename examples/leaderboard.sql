SELECT r.run_name, family.value AS family, loss.value AS test_log_loss, acc.value AS test_accuracy
FROM runs_latest AS r
JOIN tags AS family ON family.run_id = r.run_id AND family.key = 'family'
JOIN metrics AS loss ON loss.run_id = r.run_id AND loss.key = 'test_log_loss'
JOIN metrics AS acc ON acc.run_id = r.run_id AND acc.key = 'test_accuracy'
ORDER BY test_log_loss, r.run_id
LIMIT 5
