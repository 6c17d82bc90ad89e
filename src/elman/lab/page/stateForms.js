// What the values of the page's state look like. An address may be typed, cut, or made for another
// page; a value of another form is left out, and one that is too large is clipped where it is used.

const isWholeNumber = (value) => Number.isInteger(value);
const isTextValue = (value) => typeof value === "string";
const isNumberValue = (value) => Number.isFinite(value);
const isObjectValue = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isListOf = (isItem) => (value) => Array.isArray(value) && value.every(isItem);

function isClamp(value) {
  return isObjectValue(value) && isTextValue(value.name) && isNumberValue(value.value)
    && ["layer", "direction", "unit", "from", "to"].every((name) => isWholeNumber(value[name]));
}

const FORMS = {
  epoch: isWholeNumber,
  layer: isWholeNumber,
  output: isWholeNumber,
  input: isWholeNumber,
  colour: isTextValue,
  mark: isTextValue,
  task: isTextValue,
  threshold: isNumberValue,
  span: (value) => isListOf(isWholeNumber)(value) && value.length === 2,
  erased: isListOf(isWholeNumber),
  clamps: isListOf(isClamp),
  edits: (value) => isObjectValue(value) && Object.values(value).every((each) =>
    each === null || isNumberValue(each) || isTextValue(each)),
  compare: (value) => isObjectValue(value) && isWholeNumber(value.run)
    && (value.epoch === null || isWholeNumber(value.epoch)),
};

/** Whether a value from an address can stand for a name of the state with this default. */
export function hasForm(name, value, preset) {
  if (value === null) return preset === null;
  if (name in FORMS) return FORMS[name](value);
  if (isNumberValue(preset)) return isWholeNumber(value);
  return isObjectValue(preset) ? isObjectValue(value) : typeof value === typeof preset;
}

/** The clamps that a network has units for: an address may have been made for another one. */
export function clampsWithin(clamps, { num_layers: layers, bidirectional, hidden_size: units }, names) {
  const isWithin = (value, count) => value >= 0 && value < count;
  return clamps.filter(({ layer, direction, unit, name }) => isWithin(layer, layers)
    && isWithin(direction, bidirectional ? 2 : 1) && isWithin(unit, units) && names.includes(name));
}
