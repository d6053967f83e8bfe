"""What optuna-dashboard shows of a study besides Optuna's own: notes and figures."""
