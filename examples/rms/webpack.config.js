// Bundles styles and scripts into static/dist.
// ASSETS_MODE=development: readable, with source maps (testing instances).
// ASSETS_MODE=production: compressed and with short names (staging and live).
const path = require('path');
const CopyPlugin = require('copy-webpack-plugin');
const MiniCssExtractPlugin = require('mini-css-extract-plugin');
const TerserPlugin = require('terser-webpack-plugin');

const mode = process.env.ASSETS_MODE || 'development';
const live = mode === 'production';
const withoutMap = (content) =>
  Buffer.from(content.toString().replace(/^(\/\/|\/\*)# sourceMappingURL=.*$/gm, ''));

module.exports = {
  mode,
  devtool: live ? false : 'source-map',
  entry: { app: './assets/js/app.js', api: './assets/js/api.js' },
  output: {
    path: path.resolve(__dirname, 'static/dist'),
    filename: '[name].js',
    assetModuleFilename: 'fonts/[name][ext]',
    clean: true,
  },
  module: {
    rules: [
      {
        test: /\.scss$/,
        use: [
          MiniCssExtractPlugin.loader,
          { loader: 'css-loader', options: { sourceMap: !live } },
          {
            loader: path.resolve(__dirname, 'assets/sass-loader.js'),
            options: {
              style: live ? 'compressed' : 'expanded',
              sourceMap: !live,
              sourceMapIncludeSources: true,
              loadPaths: [path.resolve(__dirname, 'node_modules')],
              quietDeps: true,
              // Bootstrap 5 is still written with @import
              silenceDeprecations: ['import', 'global-builtin', 'color-functions', 'if-function'],
            },
          },
        ],
      },
      { test: /\.woff2$/, type: 'asset/resource' },
    ],
  },
  plugins: [
    new MiniCssExtractPlugin({ filename: '[name].css' }),
    new CopyPlugin({
      patterns: ['swagger-ui-bundle.js', 'swagger-ui.css'].map((file) => ({
        from: path.resolve(__dirname, 'node_modules/swagger-ui-dist', file),
        to: 'swagger/[name][ext]',
        transform: withoutMap,
        info: { minimized: true },
      })),
    }),
  ],
  optimization: {
    minimize: live,
    minimizer: [
      new TerserPlugin({
        exclude: /swagger\//,
        extractComments: false,
        terserOptions: {
          compress: { passes: 2 },
          mangle: { toplevel: true },
          format: { comments: false },
        },
      }),
    ],
  },
  performance: { hints: false },
  stats: { preset: 'errors-warnings', assets: true, timings: true },
};
