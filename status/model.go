package status

import "time"

// Plan is what a served model's profile says, and what is planned from it: the answer of
// GET /v1/models/{model}.
type Plan struct {
	Model       string    `json:"model"`
	Version     string    `json:"version"`
	Description string    `json:"description,omitempty"`
	Device      string    `json:"device"`
	DeviceName  string    `json:"device_name"`
	Dataset     string    `json:"dataset"`
	Samples     int       `json:"samples"`
	Metric      string    `json:"metric,omitempty"` // in words
	Created     time.Time `json:"created"`
	// Points are the variants and cascades.
	Points []Point `json:"points"`
	// AllMS is the time per item of a server that always runs all modalities.
	AllMS float64 `json:"all_ms"`
}

// Point is a way to run an item, by the profile.
type Point struct {
	Name       string   `json:"name"`
	Modalities []string `json:"modalities"`
	Cascade    bool     `json:"cascade"`
	Accuracy   float64  `json:"accuracy"`
	// Low and High are the 95 % interval of a variant's accuracy; 0 for a cascade.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Frontier says that no other point is better in both accuracy and time per item.
	Frontier  bool    `json:"frontier"`
	PerItemMS float64 `json:"per_item_ms"` // in its best batches
	// Batches are the measured times of a variant, by size.
	Batches []BatchTime `json:"batches,omitempty"`
}

// BatchTime is the time of a batch of so many items.
type BatchTime struct {
	Items int     `json:"items"`
	P50MS float64 `json:"p50_ms"`
	P95MS float64 `json:"p95_ms"`
}
