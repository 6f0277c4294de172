// Sass for webpack. The usual sass-loader compiles asynchronously, which takes
// the JavaScript form of Sass three times as long.
const { fileURLToPath } = require('url');
const sass = require('sass');

module.exports = function compile() {
  const result = sass.compile(this.resourcePath, this.getOptions());
  result.loadedUrls.forEach((url) => this.addDependency(fileURLToPath(url)));
  this.callback(null, result.css, result.sourceMap);
};
