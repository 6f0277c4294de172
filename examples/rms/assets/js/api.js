// The page of the REST interface: Swagger UI on our own schema.
import '../scss/api.scss';

const place = document.getElementById('swagger');

window.SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    request.headers['X-CSRFToken'] = place.dataset.csrf;
    return request;
  },
});
