// What all parts of the page look at. page.js fills it when the page starts.

export const state = {
  backend: null, // what is asked: a server by live.js, or the file by stored.js
  about: null, // what it says of the model and its map
  points: null, // the map's places
  labels: null, // each colouring's number of each point
  map: null, // the map on the page
};
