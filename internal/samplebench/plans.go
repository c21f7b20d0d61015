package main

// plans are the groups. Variants that others beat in cost and accuracy are left out.
var plans = []planOf{
	{
		name: "digits", most: "all",
		note: "the package `digits` without variants that others beat; the gate is that of `training/gate`, which saw the training split only, and its network also serves as a variant like the others",
		full: recipe{name: "digits", from: "digits", variants: digits, graph: "glance.onnx", like: "image_text",
			gate: "  - {name: glance, modalities: [image, text], path: onnx/glance.onnx}\n" +
				"  - {variant: glance, output: right, chooses: [glance, image_text, all_int8]}"},
		ways: []wayOf{
			{name: "mixes", variants: digits},
			{name: "cascades", variants: digits, search: true},
			{name: "gate", variants: digits, gate: true},
			{name: rival, variants: digits, network: true},
			{name: "cascades with the gate's network", variants: digits, network: true, search: true},
			{name: "gate and cascades", variants: digits, gate: true, search: true, planned: true},
		},
	},
	{
		name: "digits_exits", most: "all_4",
		note: "the networks of `digits_exits`, certified on the profile set of `digits`; mixes are of whole networks",
		full: recipe{name: "digits_exits", from: "digits_exits", labelled: "digits", variants: exits},
		ways: []wayOf{
			{name: "mixes", variants: []string{"all_4", "image_text_4", "narrow_4"}},
			{name: "exits", variants: exits, search: true},
		},
	},
	{
		name: "emoji", most: "text_image",
		note: "the package `emoji`, whose variants have buckets: a gate cannot choose among such, and there are no exits; *runs* and *ms/item* are for long texts",
		full: recipe{name: "emoji", from: "emoji", variants: emoji},
		ways: []wayOf{
			{name: "mixes", variants: emoji},
			{name: "cascades", variants: emoji, search: true},
		},
	},
}

var (
	digits = []string{"text", "image", "image_text", "all", "all_int8"}
	exits  = []string{"all_4", "all_1", "image_text_4", "image_text_1", "narrow_4", "narrow_1"}
	emoji  = []string{"words", "text", "image", "text_image", "words_image"}
)
