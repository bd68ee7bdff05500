import { expect, test } from 'vitest';
import { isSamePhone } from '../../src/numbers/phone-digits.ts';

test.each([
  ['the format', '+1 631-555-5555', '16315555555'],
  // https://github.com/megaapp977/stack/issues/576
  ['the ninth digit of Brazil', '5564999998888', '+55 64 9999-8888'],
  // https://github.com/daviddrysdale/python-phonenumbers/issues/306
  ['the 1 of Mexico', '5215541637145', '+52 55 4163 7145'],
  // https://github.com/chatwoot/chatwoot/issues/13932
  ['the 9 of Argentina', '5491123456789', '+54 11 2345-6789'],
  ['marks of direction', '‪+55 11 99999-9999‬', '5511999999999'],
])('%s makes no difference', (_, one, other) => {
  expect([isSamePhone(one, other), isSamePhone(other, one)]).toEqual([true, true]);
});

test.each([
  ['another digit', '16315555555', '16315555556'],
  ['a Brazilian landline and a mobile number', '551133334444', '5511933334444'],
  ['another area of Brazil', '5564999998888', '551199998888'],
  ['a 9 in a country without the rule', '4994123456789', '494123456789'],
  ['another country', '5491123456789', '5511923456789'],
])('%s makes two numbers', (_, one, other) => {
  expect([isSamePhone(one, other), isSamePhone(other, one)]).toEqual([false, false]);
});
