package score

import (
	"slices"
	"strings"
)

// Refused returns why a well-known measure cannot be a metric, and what to use instead;
// "" for an unknown name.
func Refused(name string) string {
	name = strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(name))
	for _, r := range refused {
		if slices.Contains(r.names, name) {
			return r.why
		}
	}
	return ""
}

// noMean is why a statistic of a whole set cannot be a floor.
const noMean = "is a figure of a whole set and not a mean over its samples, so no floor can be kept with it: "

// refused are measures that users may expect.
var refused = []struct {
	names []string
	why   string
}{
	{[]string{"macro_f1", "f1", "micro_f1", "weighted_f1", "precision", "recall", "balanced_accuracy", "mcc"},
		noMean + "use accuracy, or {name: multilabel, score: f1}, which is the F1 of each sample; `mosel profile` reports the macro F1"},
	{[]string{"auc", "roc_auc", "auroc", "average_precision", "map"},
		noMean + "use {name: binary, threshold: T}, the share that is right at a threshold; `mosel profile` reports the AUC"},
	{[]string{"mae", "mean_absolute_error", "mse", "rmse", "mean_squared_error"},
		"is an error, which has no upper bound and is better when smaller; a score is between 0 and 1: " +
			"use {name: bounded_error, scale: S}, which is 1 - error / S, or {name: within, tolerance: T}; `mosel profile` reports the MAE"},
	{[]string{"pearson", "correlation", "spearman", "r2", "ccc"},
		noMean + "use sign, {name: within, tolerance: T} or {name: bounded_error, scale: S}; `mosel profile` reports the correlation"},
	{[]string{"ece", "calibration", "calibration_error", "brier", "log_loss", "cross_entropy"},
		"says how far confidences can be trusted and not how often the model is right: use accuracy or binary; `mosel profile` reports the calibration error"},
	{[]string{"bleu", "rouge", "iou", "dice", "wer", "exact_match", "human"},
		"is not built in: compute the score of each sample with a script of your own and use external"},
}
