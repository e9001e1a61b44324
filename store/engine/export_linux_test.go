package engine

// MergingParts is where parts are that merges have not finished.
const MergingParts = mergingParts
